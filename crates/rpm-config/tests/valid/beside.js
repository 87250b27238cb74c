// Stands beside its ecosystem file, not in the directory of the command.
