<?php
// The example of web-msg-sender's README: fields as an array, which curl sends as multipart, and
// an empty Expect header.
[, $push_api_url, $to_uid, $content] = $argv;
$post_data = array(
    "type" => "publish",
    "content" => $content,
    "to" => $to_uid,
);
$ch = curl_init();
curl_setopt($ch, CURLOPT_URL, $push_api_url);
curl_setopt($ch, CURLOPT_POST, 1);
curl_setopt($ch, CURLOPT_HEADER, 0);
curl_setopt($ch, CURLOPT_RETURNTRANSFER, 1);
curl_setopt($ch, CURLOPT_POSTFIELDS, $post_data);
curl_setopt($ch, CURLOPT_HTTPHEADER, array("Expect:"));
$return = curl_exec($ch);
curl_close($ch);
echo $return === false ? "failed" : $return;
