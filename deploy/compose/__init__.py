"""What runs inside the containers beside the services: a health check, and the handing over of folders."""
