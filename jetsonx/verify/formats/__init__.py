"""A report in the forms that people and programs read: each module renders one, and writes nothing."""
