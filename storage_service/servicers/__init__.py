"""The storage contract over gRPC: protobuf to records and back, nothing more. One module per resource."""
