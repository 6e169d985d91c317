// splunk-logging: batches of HEC envelopes with a form's media type, and the time as a text.
import splunk from 'splunk-logging'
import { KEY, sleep } from './plan.mjs'

const BATCH = 5
const ANSWERED_WITHIN_MS = 20_000

export async function splunkLogging (plan) {
  const options = { token: KEY ?? 'token', url: plan.url, maxRetries: 3, batchInterval: 0, maxBatchCount: BATCH }
  const logger = new splunk.Logger(options)
  // By default, it does not verify the server.
  logger.requestOptions.strictSSL = true
  logger.error = error => plan.failed(error)
  let delivered = 0
  let answered = 0
  let finish
  const done = new Promise(resolve => { finish = resolve })
  const answer = (error, response, body) => {
    if (!error && body?.code === 0) delivered += BATCH
    else if (!error) plan.failed(JSON.stringify(body))
    if (++answered >= plan.count / BATCH) finish()
  }
  for await (const event of plan.events()) {
    const metadata = { time: event.milliseconds, source: plan.source, sourcetype: '_json', index: 'main' }
    logger.send({ message: event.text, severity: event.level.toLowerCase(), metadata }, answer)
  }
  await Promise.race([done, sleep(ANSWERED_WITHIN_MS)])
  plan.report(delivered)
}
