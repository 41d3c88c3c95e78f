"""What chance finds: the whole decision against an oracle, and the readers of what strangers send. `make fuzz` runs it, docs/rules.md is its law."""
