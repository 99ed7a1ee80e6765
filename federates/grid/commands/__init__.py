"""Commands that `derloop` gets from here: entry points in the group `derloop.commands`."""
