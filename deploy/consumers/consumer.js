#!/usr/bin/env node
// A complete consumer of acrelay's events with node-redis (4.x): each event takes effect exactly
// once. Environment variables: REDIS_URL, STREAM, GROUP, NAME, CLAIM_AFTER_MS, RESULTS, PARTITIONS,
// BEFORE. It needs node-redis (apt install nodejs node-redis), and prints a line for each event.
//
// With PARTITIONS=N (as redis.partitions) it reads {ac.0}:events to {ac.N-1}:events. When that number
// is changed, give the earlier one as BEFORE: what is still in those streams is finished first, so that
// the events of each subject stay in order.
//
// The effect is a field in a hash of our own in the same Redis, with ce_id as its name, so the same
// event again changes nothing. The order is: effect, check the reply, acknowledge. (Not in a MULTI:
// Redis does not roll back, and would acknowledge even if the effect failed.) An event that cannot
// be parsed never will be: it is reported, stored in a second hash, and only then acknowledged.
// If Redis refuses the effect, the event stays pending until it succeeds.
'use strict';
const os = require('os');

function load(name) {
    try {
        return require(name);
    } catch (error) {
        if (error.code !== 'MODULE_NOT_FOUND') throw error;
        console.error(`consumer.js: node-redis is not installed for ${process.execPath}: apt install `
            + 'nodejs node-redis (for a Node.js from elsewhere, set NODE_PATH=/usr/share/nodejs); or '
            + 'npm install redis@4');
        return process.exit(1);
    }
}
const { createClient, commandOptions, ErrorReply } = load('redis');

// node-redis does not know unix:///path?db=n, which redis.url may be.
function makeClient(text, options) {
    try {
        const url = new URL(text);
        return createClient({ ...options, ...(url.protocol !== 'unix:' ? { url: text } : {
            socket: { path: url.pathname }, database: Number(url.searchParams.get('db')) }) });
    } catch (error) {
        console.error(`consumer.js: REDIS_URL: ${error.message}`);
        return process.exit(1);
    }
}

const stream = process.env.STREAM || '{ac}:events';
const group = process.env.GROUP || 'shop-js';
const name = process.env.NAME || os.hostname();
const claimAfterMs = Number(process.env.CLAIM_AFTER_MS || 60000);
const results = process.env.RESULTS || '{ac}:shop-js'; // the stream's hash tag: one slot
const aside = `${results}-aside`;
const client = makeClient(process.env.REDIS_URL || 'redis://127.0.0.1:6379/0');
// {ac}:events, or {ac.0}:events and so on.
const partitions = (count) => (count === 1 ? [stream]
    : Array.from({ length: count }, (_, i) => stream.replace('}', `.${i}}`)));
const streams = partitions(Number(process.env.PARTITIONS || 1));
const earlier = process.env.BEFORE
    ? partitions(Number(process.env.BEFORE)).filter((name) => !streams.includes(name)) : [];
const all = [...streams, ...earlier];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const claimFrom = new Map(all.map((each) => [each, '0-0']));
let failed = false;
let stopping = false;

async function makeGroup(each) {
    try { // at 0, so that what came before the first consumer is read too
        await client.xGroupCreate(each, group, '0', { MKSTREAM: true });
    } catch (error) {
        if (!error.message.startsWith('BUSYGROUP')) throw error;
    }
}

// Entries that a consumer read and did not acknowledge, a hundred at a time. Those that were trimmed before
// anyone read them come as null.
async function leftEntries(each) {
    const left = await client.xAutoClaim(each, group, name, claimAfterMs, claimFrom.get(each),
        { COUNT: 100 });
    claimFrom.set(each, left.nextId);
    return left.messages.filter(Boolean).map((entry) => ({ ...entry, from: each }));
}

// What this consumer had read before it was restarted and not acknowledged. (xReadGroup cannot read those
// that were trimmed meanwhile.)
async function ownEntries(each, after) {
    const [[, own]] = await client.sendCommand(['XREADGROUP', 'GROUP', group, name, 'COUNT', '100',
        'STREAMS', each, after]);
    return own.map(([id, pairs]) => {
        const message = {};
        for (let i = 0; pairs && i < pairs.length; i += 2) message[pairs[i]] = pairs[i + 1];
        return { id, message: pairs && message, from: each };
    });
}

async function finishOwn(each) {
    for (let own, after = '0'; !stopping; after = own[own.length - 1].id) {
        own = await ownEntries(each, after);
        if (!own.length) return;
        for (const entry of own) {
            if (stopping) return;
            if (entry.message) await work(entry);
            else await client.xAck(each, group, entry.id);
        }
    }
}

async function newEntries(from, blockMs) {
    const found = await client.xReadGroup(commandOptions({ isolated: true }), group, name,
        from.map((key) => ({ key, id: '>' })), { COUNT: 100, BLOCK: blockMs });
    return (found || []).flatMap((part) => part.messages.map(
        (entry) => ({ ...entry, from: part.name })));
}

// Whether the group has read all of it, and acknowledged it.
async function isFinished(each) {
    const mine = (await client.xInfoGroups(each)).find((found) => found.name === group);
    const { lastGeneratedId } = await client.xInfoStream(each);
    return mine.pending === 0 && mine.lastDeliveredId === lastGeneratedId;
}

// The streams of the earlier number of partitions alone, until they are finished.
async function streamsNow() {
    const unfinished = [];
    for (const each of earlier) if (!await isFinished(each)) unfinished.push(each);
    return unfinished.length ? unfinished : all;
}

// What the event becomes: [hash, field, value]. Whatever fails here will fail again.
function readEvent(id, event) {
    try {
        if (!event.ce_id) throw new Error('it has no ce_id');
        const structured = event['content-type'] === 'application/cloudevents+json';
        const data = JSON.parse(event.data);
        const { contact } = structured ? data.data : data;
        const email = contact && typeof contact.email === 'string' ? contact.email : '';
        return [results, event.ce_id, `${event.ce_type} ${event.ce_subject} ${email}`];
    } catch (error) {
        console.error(`${id}: set aside, ${event.ce_id}: ${error.message}`);
        return [aside, id, JSON.stringify({ reason: error.message, event })];
    }
}

// One entry. If it had no effect, it stays pending and is retried after CLAIM_AFTER_MS.
async function work({ id: entry, message: event, from }) {
    const id = all.length === 1 ? entry : `${from}/${entry}`; // partitions give the same ids
    try {
        const effect = readEvent(id, event);
        const added = await client.hSet(...effect);
        if (effect[0] === results) {
            console.log(`${id}: ${event.ce_type} ${event.ce_subject}: `
                + (added ? 'stored' : 'already stored'));
        }
    } catch (error) {
        if (!(error instanceof ErrorReply)) throw error; // the connection
        console.error(`${id}: no effect yet: ${error.message}; it will be retried`);
        failed = true;
        return;
    }
    await client.xAck(from, group, entry);
}

// Old pending entries and new ones alternate, so that neither holds up the other.
async function turn() {
    const from = await streamsNow();
    const left = [];
    for (const each of from) left.push(...await leftEntries(each));
    for (const entry of left) if (!stopping) await work(entry);
    for (const entry of await newEntries(from, left.length ? 1 : 1000)) {
        if (!stopping) await work(entry);
    }
    if (failed) await pause(Math.min(1000, claimAfterMs));
    failed = false;
}

async function main() {
    process.stdout.on('error', (error) => { // EPIPE: nobody reads what is printed, as in `| head`
        if (error.code !== 'EPIPE') console.error(`consumer.js: ${error.message}`);
        process.exit(1);
    });
    client.on('error', (error) => console.error(`Redis: ${error.message}`));
    for (const sign of ['SIGINT', 'SIGTERM']) process.on(sign, () => { stopping = true; });
    await client.connect();
    console.log(`reading ${all.join(', ')} as ${name} of group ${group}; effects go into the hashes `
        + `${results} and ${aside} of the same Redis`);
    let begun = false;
    while (!stopping) {
        try {
            for (const each of all) await makeGroup(each); // Redis may have been emptied
            for (const each of begun ? [] : [...earlier, ...streams]) await finishOwn(each);
            begun = true;
            await turn();
        } catch (error) {
            begun = false;
            console.error(`${error.message}; trying again`);
            await pause(1000);
        }
    }
    await client.quit();
}

main().catch((error) => {
    console.error(`consumer.js: ${error.message}`);
    process.exit(1);
});
