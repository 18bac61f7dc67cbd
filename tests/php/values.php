<?php
// What web-msg-sender would make of pushes by PHP's own functions. A line of the file is a push:
// "form" or "json", and its body in hexadecimal digits. A line is printed for each: the word it is
// answered, for a server where only "alice" is online, and in hexadecimal digits what she gets.
function push(array $sent): array {
    if (($sent["type"] ?? null) != "publish") return ["fail", ""];
    $content = $sent["content"] ?? null;
    if (is_array($content)) return ["fail", ""];
    $content = bin2hex(htmlspecialchars((string) $content));
    $to = $sent["to"] ?? null;
    if (!$to) return ["ok", $content];
    $found = false;
    foreach (is_array($to) ? $to : [$to] as $uid) {
        if (is_array($uid) || (string) $uid === "") return ["fail", ""];
        $found = $found || (string) $uid === "alice";
    }
    return $found ? ["ok", $content] : ["offline", ""];
}

foreach (file($argv[1], FILE_IGNORE_NEW_LINES) as $line) {
    [$kind, $body] = explode(" ", $line);
    $body = hex2bin($body);
    if ($kind === "json") {
        $sent = (array) json_decode($body, true);
    } else {
        parse_str($body, $sent);
    }
    echo implode(" ", push($sent)), "\n";
}
