"""The command line: flags to calls, results to the terminal; one file for each command."""
