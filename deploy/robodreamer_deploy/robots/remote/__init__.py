"""A robot in another process or on another computer, over ZeroMQ.

The driver's side: `robot` is the robot as the loop sees it, `client` sends one request and receives
its answer. The robot's side: `server` answers requests from the robot's class, `server_socket`
authenticates and decodes them, `command_timeout` holds the robot when commands cease. Both:
`wire` defines messages, `address` and `keys` who may talk to whom.
"""
