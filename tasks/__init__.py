"""The steps of the runbooks: thin tasks that call a block, hand the answer to model, and return a record."""
