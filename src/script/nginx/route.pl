use strict; use Socket; $SIG{ALRM} = sub { exit 28 }; $SIG{PIPE} = "IGNORE";
my ($kind, $path, $target, $host, $s) = @ARGV;
socket($s, PF_UNIX, SOCK_STREAM, 0) && connect($s, sockaddr_un($path)) or exit 7;
if ($kind eq "http") {
    alarm 5; select((select($s), $| = 1)[0]);
    print $s "GET $target HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n";
    my $line = <$s>; defined $line && $line =~ /^HTTP\/\S+ (\d+)/ or exit 52; print $1;
} else { alarm 5; sysread($s, my $byte, 1) and print "x"; }
