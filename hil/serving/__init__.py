"""The emulator's wire: what answers (`responder`), what carries it (`server`), and what goes wrong (`quirks`)."""
