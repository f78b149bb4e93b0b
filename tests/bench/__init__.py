"""`make bench`: our road from HTTP to committed raw, side by side with dlt and with the bare minimum."""
