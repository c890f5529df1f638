// Reads entries, one JSON object of fields a line, with the CloudEvents SDK as messages of Kafka: the
// fields as headers, `data` as the value, nothing renamed. Prints each event as JSON.
'use strict';
const { Kafka } = require('cloudevents');

for (const line of require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
    const { data, ...headers } = JSON.parse(line);
    const event = Kafka.toEvent({ headers, value: data });
    event.validate();
    console.log(JSON.stringify(event));
}
