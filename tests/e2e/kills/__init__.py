"""Every process of a stack dies while a job runs. The stack is these tests' own: it is not the same after them."""
