"""A robot in another process or on another computer, over ZeroMQ.

`wire` is what a message looks like, `address` and `keys` who may talk to whom, `link` one request
and its answer, `robot` the robot as the loop sees it, `server` the other end.
"""
