<?php
// A push by a packet. Arguments: the UDP port, then packets.
[, $port] = $argv;
$socket = stream_socket_client("udp://$port", $code, $message, 3);
if ($socket === false) {
    exit("cannot connect: $message\n");
}
foreach (array_slice($argv, 2) as $packet) {
    echo fwrite($socket, $packet), "\n";
}
