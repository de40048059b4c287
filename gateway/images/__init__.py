"""Images that people show to models: where they come from, what they may cost, and how engines are told of them."""
