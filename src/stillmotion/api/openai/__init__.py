"""OpenAI's videos API over the same queue: its paths, bodies and errors, as its own clients read them."""
