"""The engine behind the server: a process of its own, and what stands for it in this one."""
