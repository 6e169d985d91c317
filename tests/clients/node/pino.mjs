// Transports of pino. Those in worker threads print their errors and report nothing.
import pino from 'pino'
import { KEY, LOGIN, sleep, SPAN_ID, TRACE_ID } from './plan.mjs'

const CLOSED_WITHIN_MS = 10_000

export async function openTelemetry (plan) {
  await inWorker(plan, 'pino-opentelemetry-transport', {
    loggerName: 'clients',
    serviceVersion: '1',
    resourceAttributes: { 'service.name': plan.source },
    logRecordProcessorOptions: {
      recordProcessorType: 'batch',
      processorConfig: { scheduledDelayMillis: 500 },
      exporterOptions: { protocol: 'http/protobuf', protobufExporterOptions: { url: `${plan.url}/v1/logs` } }
    }
  })
}

export async function loki (plan) {
  const batching = plan.client.endsWith('unbatched') ? false : { interval: 1 }
  const labels = { service_name: plan.source }
  await inWorker(plan, 'pino-loki', { host: plan.url, batching, labels, ...(LOGIN && { basicAuth: LOGIN }) })
}

// A stream in the thread of the program, which reports what was inserted.
export async function elasticsearch (plan) {
  const { default: pinoElastic } = await import('pino-elasticsearch')
  const stream = pinoElastic({
    node: plan.url,
    index: 'logs-clients',
    esVersion: 8,
    opType: 'create',
    flushBytes: 1000,
    flushInterval: 500,
    ...(KEY && { auth: { apiKey: KEY } })
  })
  let delivered = null
  const inserted = new Promise(resolve => stream.on('insert', stats => resolve(delivered = stats.successful)))
  for (const name of ['unknown', 'insertError', 'error']) stream.on(name, error => plan.failed(error))
  await log(plan, stream)
  stream.end()
  await Promise.race([inserted, sleep(CLOSED_WITHIN_MS)])
  plan.report(delivered)
}

async function inWorker (plan, target, options) {
  const transport = pino.transport({ target, options })
  transport.on('error', error => plan.failed(error))
  await log(plan, transport)
  // Transports send what they have each half second or second. When pino-loki is closed, it does not wait for the answer.
  await sleep(5000)
  const closed = new Promise(resolve => transport.on('close', resolve))
  transport.end()
  await Promise.race([closed, sleep(CLOSED_WITHIN_MS)])
  plan.report(null)
}

async function log (plan, stream) {
  let milliseconds = 0
  const logger = pino({ timestamp: () => `,"time":${milliseconds}`, base: { service: plan.source } }, stream)
  for await (const event of plan.events()) {
    milliseconds = event.milliseconds
    const fields = { order: event.number, trace_id: TRACE_ID, span_id: SPAN_ID, trace_flags: '01' }
    logger[event.level.toLowerCase()](fields, event.text)
  }
  await new Promise(resolve => logger.flush(resolve))
}
