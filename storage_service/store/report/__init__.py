"""What is unusual in a janroot, as findings for people. Everything here only reads; `whole.inspect` is the door."""
