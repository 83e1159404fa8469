"""The page of ``gshn app``: what its two tabs show, made by the public APIs alone, and the page itself, by Gradio."""
