"""Looking into a log from outside: reading, filtering, drawing, checking, exporting, importing, repairing."""
