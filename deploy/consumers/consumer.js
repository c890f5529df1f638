#!/usr/bin/env node
// A complete consumer of acrelay's events with node-redis (4.x): each event takes effect exactly
// once. Set with the environment: REDIS_URL, STREAM, GROUP, NAME, CLAIM_AFTER_MS, RESULTS.
//
// The effect is a field in a hash of our own in the same Redis, named by ce_id. Effect and
// acknowledgement go in one MULTI, so that both happen or none; that the field is named by
// ce_id covers what remains: the same event under a new entry id after Redis lost data.
'use strict';
const os = require('os');
const { createClient, commandOptions } = require('redis');

const stream = process.env.STREAM || '{ac}:events';
const group = process.env.GROUP || 'shop-js';
const name = process.env.NAME || os.hostname();
const claimAfterMs = Number(process.env.CLAIM_AFTER_MS || 60000);
const results = process.env.RESULTS || '{ac}:shop-js'; // the stream's hash tag: one slot
const client = createClient({ url: process.env.REDIS_URL || 'redis://127.0.0.1:6379/0' });
let stopping = false;

async function makeGroup() {
    try { // at 0, so that what came before the first consumer is read too
        await client.xGroupCreate(stream, group, '0', { MKSTREAM: true });
    } catch (error) {
        if (!error.message.startsWith('BUSYGROUP')) throw error;
    }
}

// Entries to work on: those that someone took and left, else new ones. Entries that were
// trimmed before anyone read them come as null.
async function entries() {
    const left = await client.xAutoClaim(stream, group, name, claimAfterMs, '0-0', { COUNT: 100 });
    const claimed = left.messages.filter(Boolean);
    if (claimed.length) return claimed;
    const found = await client.xReadGroup(commandOptions({ isolated: true }), group, name,
        { key: stream, id: '>' }, { COUNT: 100, BLOCK: 1000 });
    return found ? found[0].messages : [];
}

async function work({ id, message: event }) {
    const data = JSON.parse(event.data);
    const email = data.contact && data.contact.email ? data.contact.email : '';
    await client.multi()
        .hSet(results, event.ce_id, `${event.ce_type} ${event.ce_subject} ${email}`)
        .xAck(stream, group, id)
        .exec();
}

async function main() {
    client.on('error', (error) => console.error(`Redis: ${error.message}`));
    for (const sign of ['SIGINT', 'SIGTERM']) process.on(sign, () => { stopping = true; });
    await client.connect();
    while (!stopping) {
        try {
            await makeGroup(); // Redis may have been emptied
            for (const entry of await entries()) {
                await work(entry);
                if (stopping) break;
            }
        } catch (error) {
            console.error(`${error.message}; trying again`);
            await new Promise((resolve) => setTimeout(resolve, 1000));
        }
    }
    await client.quit();
}

main();
