"""Checks of a whole Janroot as its users meet it: started, asked, hurt and stopped, with the stock OpenAI client."""
