"""What AWS Lambda runs: messages of the queue and of its dead letters, the schedule, and HTTP."""

from jobs import app

from outlast.aws import lambda_handler

handler = lambda_handler(app)
