"""The model of this example that needs no key: plain rules that read the very text they are given."""
