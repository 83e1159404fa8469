"""The page of ``gshn app``. Its contents come from the public APIs alone; the page itself is made with Gradio."""
