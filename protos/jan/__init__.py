"""The contract: ids, errors, protobuf messages and Redis structures that every service shares."""
