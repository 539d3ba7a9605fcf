import socket, sys
kind, path, target, host = sys.argv[1:]
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
try:
    s.connect(path)
    if kind == "http":
        s.sendall(("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (target, host)).encode())
        sys.stdout.write(s.makefile("rb").readline().split(b" ")[1].decode())
    elif s.recv(1):
        sys.stdout.write("x")
except socket.timeout:
    sys.exit(28)
except (OSError, IndexError):
    sys.exit(7)
