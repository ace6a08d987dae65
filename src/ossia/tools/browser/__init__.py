"""The browser that gpt-oss was trained with: search, open and find, over any search engine.

`web.py` says what the world outside is: a search engine (`search_engine.py`) and pages, which
`fetching.py` gets without letting a model reach what only this machine can (`addresses.py`).
`html_text.py` makes a page the text that the model reads; `browser.py` is what it works with in one
answer.
"""
