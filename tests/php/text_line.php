<?php
// A push by a line, as Workerman's example makes it. Arguments: the text port, then lines without
// their ends. Prints what each is answered.
[, $port] = $argv;
$socket = stream_socket_client("tcp://$port", $code, $message, 3);
if ($socket === false) {
    exit("cannot connect: $message\n");
}
foreach (array_slice($argv, 2) as $line) {
    fwrite($socket, $line . "\n");
    echo fread($socket, 8192);
}
