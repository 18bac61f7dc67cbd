<?php
// Without curl: by the query, or by a form through a stream context. Prints the answer and how
// many seconds it took.
[, $url, $method, $to, $content] = $argv;
[$method, $version] = explode("-", "$method-1.0");
$fields = http_build_query(["type" => "publish", "content" => $content, "to" => $to]);
$http = ["protocol_version" => (float) $version];
if ($method === "post") {
    $http += [
        "method" => "POST",
        "header" => "Content-Type: application/x-www-form-urlencoded",
        "content" => $fields,
    ];
} else {
    $url .= "?$fields";
}
$start = microtime(true);
$answer = file_get_contents($url, false, stream_context_create(["http" => $http]));
printf("%s %.3f", $answer, microtime(true) - $start);
