#!/usr/bin/env node
// A complete producer of commands with node-redis 4.x (apt install nodejs node-redis): each change
// reaches ActiveCampaign, or is reported. Environment variables: REDIS_URL, NAMESPACE, SERVICE.
//
// Each line of the input is a command: its id, operation, subject and body, separated by spaces:
//
//     order-4711 Contact_updateContact contacts/66 {"contact":{"firstName":"Ann"}}
//
// The id names the change, not the attempt. Whenever it is not known whether a command is in the
// stream (the connection broke, Redis lost its last second of writes), it is added again with the
// same id, and acrelay carries it out once. So a service keeps a command (here in `waiting`; in a
// real one, in its database) until the result is there.
'use strict';
const fs = require('fs');

function load(name) {
    try {
        return require(name);
    } catch (error) {
        if (error.code !== 'MODULE_NOT_FOUND') throw error;
        console.error(`producer.js: node-redis is not installed for ${process.execPath}: apt install `
            + 'nodejs node-redis (for a Node.js from elsewhere, set NODE_PATH=/usr/share/nodejs); or '
            + 'npm install redis@4');
        return process.exit(1);
    }
}
const { createClient, ErrorReply } = load('redis');

// node-redis does not know unix:///path?db=n, which redis.url may be.
function makeClient(text, options) {
    try {
        const url = new URL(text);
        return createClient({ ...options, ...(url.protocol !== 'unix:' ? { url: text } : {
            socket: { path: url.pathname }, database: Number(url.searchParams.get('db')) }) });
    } catch (error) {
        console.error(`producer.js: REDIS_URL: ${error.message}`);
        return process.exit(1);
    }
}

const namespace = process.env.NAMESPACE || 'ac';
const service = process.env.SERVICE || 'crm';
const commands = `{${namespace}}:commands:${service}`;
const results = `{${namespace}}:results:${service}`;
const silenceMs = 600000; // without any result, after which commands are added again
const client = makeClient(process.env.REDIS_URL || 'redis://127.0.0.1:6379/0',
    { disableOfflineQueue: true });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const waiting = new Map(); // by id
let after = null; // the result that was read last
let isLost = false; // the connection, since the commands were added

function fail(text) {
    console.error(`producer.js: ${text}`);
    process.exit(1);
}

function readCommands() {
    for (const line of fs.readFileSync(0, 'utf8').split('\n').filter((text) => text.trim())) {
        const words = line.match(/^(\S+) (\S+) (\S+) (.*)$/);
        if (!words) fail(`${line}: not ID OPERATION SUBJECT BODY`);
        const [, id, operation, subject, body] = words;
        try { // a mistake shows here, not as a result
            JSON.parse(body);
        } catch (error) {
            fail(`${id}: the body is not JSON: ${error.message}`);
        }
        waiting.set(id, { id, operation, subject, body });
    }
}

function add({ id, operation, subject, body }) {
    return client.xAdd(commands, '*', {
        ce_specversion: '1.0', ce_id: id, ce_source: 'producer.js',
        ce_type: `com.activecampaign.command.${operation}`, ce_subject: subject,
        'content-type': 'application/json', data: body,
    });
}

function take(result) {
    if (!waiting.delete(result.ce_id)) return;
    console.log(result.ce_id, result.outcome, result.status, result.detail);
    if (result.outcome !== 'ok') process.exitCode = 1;
}

// Takes what comes within some seconds; whether anything came. Nothing else uses the connection
// meanwhile, and so it is also the one that tells that it was lost.
async function read() {
    const found = await client.xRead({ key: results, id: after }, { COUNT: 100, BLOCK: 5000 });
    for (const { id, message } of found ? found[0].messages : []) {
        after = id;
        take(message);
    }
    return Boolean(found);
}

// Adds what waits for its result, and reads until all are there, none comes for too long, or the
// connection was lost.
async function turn() {
    if (after === null) { // what is there already is not ours
        const [newest] = await client.xRevRange(results, '+', '-', { COUNT: 1 });
        after = newest ? newest.id : '0';
    }
    isLost = false;
    for (const command of waiting.values()) await add(command);
    let end = Date.now() + silenceMs;
    while (waiting.size > 0 && !isLost && Date.now() < end)
        if (await read()) end = Date.now() + silenceMs;
}

async function main() {
    readCommands();
    client.on('error', (error) => {
        isLost = true;
        console.error(`Redis: ${error.message}`);
    });
    await client.connect();
    while (waiting.size > 0) {
        try {
            await turn();
        } catch (error) {
            const isFinal = error instanceof ErrorReply && !error.message.startsWith('LOADING');
            if (isFinal) throw error; // a right is missing, for example
            console.error(`${error.message}; adding again`);
            await pause(1000);
        }
    }
    await client.quit();
}

main().catch((error) => fail(error.message));
