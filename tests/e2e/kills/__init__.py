"""Every process of a stack dies while a job runs. The last tests of a session: its stack is not the same after them."""
