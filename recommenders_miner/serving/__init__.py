"""From an export to answers: the runtime, the store of clicks, the served log, and the server around them."""
