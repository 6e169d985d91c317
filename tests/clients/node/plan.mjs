// What one client is to send, and how a runner reports. The rules of all runners are in ../python/plan.py.

import { once } from 'node:events'

// The access key to present, if any, and the same as a user and a password.
export const KEY = process.env.CLIENT_KEY || undefined
export const LOGIN = KEY && { username: 'clients', password: KEY }

export const TRACE_ID = '5f2b1c7d9e3a48606b1d0c4e8f7a9235'
export const SPAN_ID = '9c41d07be2a35f68'
export const STACK_TRACE = 'Failure: the disk of shard 7 is full\n    at store (store.js:12:3)'
const LEVELS = ['INFO', 'WARN', 'ERROR']
const ERRORS_MAX = 3

export const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))

export class Plan {
  constructor ([client, url, run, count]) {
    this.client = client
    this.url = url.replace(/\/$/, '')
    this.run = run
    this.count = Number(count)
    this.source = `clients-${client}`
    this.errors = []
  }

  get secure () {
    return this.url.startsWith('https:')
  }

  // Host and port of the URL.
  get address () {
    const { hostname, port } = new URL(this.url.replace(/^[a-z]+:/, 'http:'))
    return { host: hostname, port: Number(port) }
  }

  // The events, with pauses; reports that sending begins.
  async * events () {
    const began = Number(process.env.EVENT_TIME_MS) || Date.now()
    const pause = Number(process.env.EVENT_PAUSE_MS) || 0
    console.log('{"ready":true}')
    if (process.env.AWAIT_START) {
      await once(process.stdin, 'data')
      process.stdin.destroy()
    }
    for (let number = 0; number < this.count; number++) {
      if (number && pause) await sleep(pause)
      const level = LEVELS[Math.floor(number * LEVELS.length / this.count)]
      yield {
        number,
        level,
        text: `clients ${this.run} ${this.client} ${number}`,
        milliseconds: began + number,
        rfc3339: new Date(began + number).toISOString(),
        last: number === this.count - 1
      }
    }
  }

  // Keeps an error for the report.
  failed (error) {
    this.errors.push(String(error?.message ?? error).slice(0, 200))
  }

  // Prints the result; `delivered` is null if the client reports nothing.
  report (delivered) {
    console.log(JSON.stringify({ delivered, errors: this.errors.slice(0, ERRORS_MAX) }))
  }

  // For clients that report nothing but errors.
  reportErrorsOnly () {
    this.report(this.errors.length ? null : this.count)
  }
}
