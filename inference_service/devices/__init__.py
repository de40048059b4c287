"""What a host has to run models on."""
