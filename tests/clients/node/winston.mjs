// Transports of winston.
import { createRequire } from 'node:module'
import winston from 'winston'
import { KEY, LOGIN, sleep, SPAN_ID, TRACE_ID } from './plan.mjs'

const require = createRequire(import.meta.url)
const FLUSHED_WITHIN_MS = 20_000

// winston-loki sends a refused batch again without end, also one that it should drop.
export async function loki (plan) {
  const LokiTransport = require('winston-loki')
  const transport = new LokiTransport({
    host: plan.url,
    json: plan.client.endsWith('json'),
    format: winston.format.json(),
    labels: { service_name: plan.source },
    ...(LOGIN && { basicAuth: `${LOGIN.username}:${LOGIN.password}` }),
    interval: 1,
    replaceTimestamp: false,
    timeout: 10_000,
    gracefulShutdown: false,
    onConnectionError: error => plan.failed(error)
  })
  await log(plan, transport)
  await Promise.race([transport.flush(), sleep(FLUSHED_WITHIN_MS)])
  plan.reportErrorsOnly()
}

// Its default transformer: `severity`, and the other fields below `fields`.
export async function elasticsearch (plan) {
  const { ElasticsearchTransport } = require('winston-elasticsearch')
  const transport = new ElasticsearchTransport({
    dataStream: true,
    index: 'logs-clients-default',
    source: plan.source,
    clientOpts: { node: plan.url, maxRetries: 2, ...(KEY && { auth: { apiKey: KEY } }) },
    flushInterval: 500,
    retryLimit: 20
  })
  transport.on('warning', error => plan.failed(error))
  await log(plan, transport)
  await sleep(1000)
  await Promise.race([transport.flush(), sleep(FLUSHED_WITHIN_MS)])
  plan.reportErrorsOnly()
}

export async function syslog (plan) {
  const { Syslog } = require('winston-syslog')
  const tcp = plan.client.endsWith('tcp')
  const transport = new Syslog({
    ...plan.address,
    protocol: tcp ? 'tcp4' : 'udp4',
    type: tcp ? '5424' : 'BSD',
    app_name: plan.source,
    eol: tcp ? '\n' : undefined,
    format: winston.format.printf(info => info.message)
  })
  await log(plan, transport)
  await sleep(500)
  plan.report(null)
}

// Any status but 200 is a warning to this transport, also 202, after which it does nothing. With batches, only the first
// event of each is reported.
export async function http (plan) {
  const batch = plan.client.endsWith('batch')
  const path = `/api/logs/ingest?source=${plan.source}`
  const transport = new winston.transports.Http({
    ...plan.address,
    ssl: plan.secure,
    path,
    batch,
    batchInterval: 500,
    batchCount: 5,
    ...(KEY && { auth: { bearer: KEY } })
  })
  let answered = 0
  let delivered = 0
  const answers = batch ? plan.count / 5 : plan.count
  const done = new Promise(resolve => {
    const count = () => { if (++answered >= answers) resolve() }
    transport.on('warn', error => {
      if (/Status Code: 202/.test(error.message)) delivered += batch ? 5 : 1
      else plan.failed(error)
      count()
    })
    transport.on('logged', () => { delivered += batch ? 5 : 1; count() })
  })
  await log(plan, transport)
  await Promise.race([done, sleep(FLUSHED_WITHIN_MS)])
  plan.report(delivered)
}

async function log (plan, transport) {
  transport.on('error', error => plan.failed(error))
  const logger = winston.createLogger({ level: 'debug', transports: [transport] })
  logger.on('error', error => plan.failed(error))
  for await (const event of plan.events()) {
    logger.log({
      level: event.level.toLowerCase(),
      message: event.text,
      timestamp: event.rfc3339,
      order: event.number,
      'trace.id': TRACE_ID,
      'span.id': SPAN_ID
    })
  }
}
