"""The report of an evaluation, of a checkpoint or of artifacts: page, tables, pictures, samples."""
