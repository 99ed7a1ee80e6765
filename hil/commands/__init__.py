"""Commands that `derloop` gets from here: its entry points in the group `derloop.commands`."""
