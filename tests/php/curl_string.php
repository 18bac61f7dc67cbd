<?php
// Fields as a string, twice on one handle: curl keeps the connection.
[, $url, $to, $content] = $argv;
$ch = curl_init($url);
curl_setopt_array($ch, [
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_POSTFIELDS => http_build_query(["type" => "publish", "content" => $content, "to" => $to]),
]);
echo curl_exec($ch), " ", curl_exec($ch), " ", curl_getinfo($ch, CURLINFO_NUM_CONNECTS);
