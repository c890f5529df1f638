// Node's reading of the samples with qs: node others.js FILE ROUNDS [NAME] -> JSON line
'use strict';
const fs = require('fs');
const qs = require('qs');
const [file, rounds, name] = process.argv.slice(2);
const bodies = fs.readFileSync(file, 'utf8').split('\n')
    .filter((line) => line && !line.startsWith('#'))
    .map((line) => line.split('\t'))
    .filter((pair) => !name || pair[0] === name)
    .map((pair) => pair[1]);
let bytes = 0;
const start = process.hrtime.bigint();
for (let n = 0; n < rounds; n++)
    for (const body of bodies)
        bytes += JSON.stringify(qs.parse(body, {depth: 16, parameterLimit: 10000})).length;
const ns = Number(process.hrtime.bigint() - start) / rounds / bodies.length;
console.log(JSON.stringify({ns, bytes}));
