<?php
// One push for several users, as a query-style form, as multipart and as JSON.
[, $url, $form, $content] = $argv;
$to = array_slice($argv, 4);
$push = ["type" => "publish", "content" => $content];
$headers = [];
switch ($form) {
    case "query":
        $body = http_build_query($push + ["to" => $to]);
        break;
    case "multipart":
        $body = $push;
        foreach ($to as $i => $uid) {
            $body["to[$i]"] = $uid;
        }
        break;
    case "json":
        $body = json_encode($push + ["to" => $to]);
        $headers[] = "Content-Type: application/json";
        break;
}
$ch = curl_init($url);
curl_setopt_array($ch, [
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_POSTFIELDS => $body,
    CURLOPT_HTTPHEADER => $headers,
]);
echo curl_exec($ch);
