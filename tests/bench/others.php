<?php // PHP's own reading of the samples: php others.php FILE ROUNDS [NAME] -> JSON line
[$self, $file, $rounds] = $argv;
$bodies = [];
foreach (file($file, FILE_IGNORE_NEW_LINES) as $line) {
    if ($line === '' || $line[0] === '#')
        continue;
    [$name, $body] = explode("\t", $line, 2);
    if (!isset($argv[3]) || $argv[3] === $name)
        $bodies[] = $body;
}
$start = hrtime(true);
for ($n = 0; $n < $rounds; $n++)
    foreach ($bodies as $body) {
        parse_str($body, $pairs);
        $text = json_encode($pairs, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
    }
echo json_encode(['ns' => (hrtime(true) - $start) / $rounds / count($bodies)]), "\n";
