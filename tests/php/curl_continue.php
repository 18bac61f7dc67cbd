<?php
// Fields as an array, with an Expect header that curl would set by itself for a large body: it
// waits for the server to say that it may go on.
[, $url, $to, $content] = $argv;
$ch = curl_init($url);
curl_setopt_array($ch, [
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_POSTFIELDS => ["type" => "publish", "content" => $content, "to" => $to],
    CURLOPT_HTTPHEADER => ["Expect: 100-continue"],
    CURLOPT_EXPECT_100_TIMEOUT_MS => 10000,
]);
echo curl_exec($ch);
