"""The contract of a method (docs/check.md): what is promised of it, measured on runs of a fraction of a second.

`semblance check` measures one method in processes of its own; tests/contract measures every built-in one by the same
functions.
"""
