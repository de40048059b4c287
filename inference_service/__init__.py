"""Jobs in, tokens out; the only process that starts engines."""

import os

# Engines are started by fork and exec. gRPC's handlers for programs that go on without exec crash the child with
# SIGSEGV when a call is open at that moment (seen with grpcio 1.85 under uvloop); read when gRPC is first used.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
