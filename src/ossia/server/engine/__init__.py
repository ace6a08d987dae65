"""The engine behind the server: a process of its own, and what stands for it in this one.

A process and not a thread, because of the interpreter's lock: while the server's event loop works
half of the time for other clients, the demo on a thread loses about 40 % of its tokens a second
with one stream and 20 % with 32, in a process 0 to 10 %. A process can also be killed and made anew
under a server that lives on. The price is 4 to 5 us of the server's processor for each token that
crosses over where 64 or more streams share a step, and 20 to 30 us where one is alone.
`benchmarks/engine_process.py` measures it, `benchmarks/LOG.md` has the figures.
"""
